// Cosine and sine of any angle up to some 100,000: the angle is reduced by multiples of
// pi/2 that are subtracted in parts short enough for every product to be exact.
vec2 cos_sin_of(float angle)
{
	precise float k = floor(angle * 0.63661977236758134 + 0.5);
	precise float r = angle - k * 1.5703125;
	r = r - k * 4.8351287841796875e-4;
	r = r - k * 3.13855707645416259765625e-7;
	r = r - k * 6.077100506506192e-11;
	float s = r * r;
	float sine = ((-1.9515295891e-4 * s + 8.3321608736e-3) * s - 1.6666654611e-1) * s * r + r;
	float cosine = ((2.443315711809948e-5 * s - 1.388731625493765e-3) * s + 4.166664568298827e-2) * s * s -
		       0.5 * s + 1.0;
	int quarter = int(k) & 3;
	vec2 turned = (quarter & 1) == 0 ? vec2(cosine, sine) : vec2(sine, cosine);
	return vec2(quarter == 1 || quarter == 2 ? -turned.x : turned.x, quarter >= 2 ? -turned.y : turned.y);
}
