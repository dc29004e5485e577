// The workgroup's number in a grid made by ops_grid (compute/ops_internal.h); may lie past the
// last one: the kernel checks.
uint grid_group()
{
	return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
}
