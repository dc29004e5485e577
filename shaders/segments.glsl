// A table of segments {first, count, sequence, 0} of a flat tensor, declared by the kernel as
// uvec4 segments[]. They ascend; with S sequences, segment k is of sequence k mod S.

// The padding behind segment k, up to the next one or the end; k == `count`: the padding before
// all segments. {first, end}
uvec2 segment_gap(uint k, uint count, uint elements)
{
	if (count == 0)
		return uvec2(0, elements);
	if (k == count)
		return uvec2(0, segments[0].x);
	return uvec2(segments[k].x + segments[k].y, k + 1 < count ? segments[k + 1].x : elements);
}
