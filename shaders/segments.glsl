// A table of segments {first, count, sequence, 0} of a flat tensor, declared by the kernel as
// uvec4 segments[].

// The padding behind segment k, up to the next segment or the end; k == `count`: the padding
// before all segments. {first, end}. Empty segments are nowhere.
uvec2 segment_gap(uint k, uint count, uint elements)
{
	if (k < count && segments[k].y == 0)
		return uvec2(0);
	const uint from = k < count ? segments[k].x + segments[k].y : 0;
	uint end = elements;
	for (uint j = 0; j < count; j++)
		if (segments[j].y != 0 && segments[j].x >= from)
			end = min(end, segments[j].x);
	return uvec2(from, end);
}
