#version 450
// *step += 1.
layout(local_size_x = 1) in;
layout(binding = 0) buffer Step { uint step_number; };

void main()
{
	step_number++;
}
