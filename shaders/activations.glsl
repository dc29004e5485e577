/* The activation functions of enum op_act (compute/ops.h) and their derivatives. */
#define ACT_NONE      0
#define ACT_GELU      1
#define ACT_GELU_TANH 2
#define ACT_SILU      3
#define ACT_RELU      4

/* erf(x). For |x| < 1 its Taylor series through x^19, error below 2e-8; beyond,
 * 1 - exp(-x^2) t P(t) with t = 1 / (1 + |x| / 2) and P fitted at Chebyshev nodes to
 * exp(x^2) erfc(x) / t on 1 <= x <= 6, relative error 6e-8. */
float erf_of(float x)
{
	float a = abs(x);
	float xx = x * x;
	float small = 1.1283791670955126 * x *
		(1.0 - xx * (1.0 / 3.0 - xx * (1.0 / 10.0 - xx * (1.0 / 42.0 - xx * (1.0 / 216.0 - xx * (1.0 / 1320.0 -
		xx * (1.0 / 9360.0 - xx * (1.0 / 75600.0 - xx * (1.0 / 685440.0 - xx * (1.0 / 6894720.0))))))))));
	float t = 1.0 / (1.0 + 0.5 * a);
	float e = exp(-xx) * t *
		(0.28236132 + t * (0.27751498 + t * (0.27964295 + t * (0.05034008 + t * (0.35784229 +
		t * (-0.32122534 + t * 0.07311735))))));
	return a < 1.0 ? small : (x < 0.0 ? e - 1.0 : 1.0 - e);
}

/* tanh that does not overflow for large |x|, and keeps its digits for small ones. */
float tanh_of(float x)
{
	float a = abs(x);
	float e = exp(-2.0 * a);
	float xx = x * x;
	float small = x * (1.0 - xx * (1.0 / 3.0 - xx * (2.0 / 15.0 - xx * (17.0 / 315.0 - xx * (62.0 / 2835.0)))));
	return a < 0.3 ? small : (x < 0.0 ? -(1.0 - e) / (1.0 + e) : (1.0 - e) / (1.0 + e));
}

float sigmoid_of(float x)
{
	float e = exp(-abs(x));
	return x < 0.0 ? e / (1.0 + e) : 1.0 / (1.0 + e);
}

#define SQRT_2_OVER_PI 0.7978845608028654

float activate(uint act, float x)
{
	switch (act) {
	case ACT_GELU:
		return 0.5 * x * (1.0 + erf_of(x * 0.7071067811865476));
	case ACT_GELU_TANH:
		return 0.5 * x * (1.0 + tanh_of(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)));
	case ACT_SILU:
		return x * sigmoid_of(x);
	case ACT_RELU:
		return x < 0.0 ? 0.0 : x; /* NaN stays */
	default:
		return x;
	}
}

/* d activate / d x */
float activate_slope(uint act, float x)
{
	switch (act) {
	case ACT_GELU:
		return 0.5 * (1.0 + erf_of(x * 0.7071067811865476)) + x * 0.3989422804014327 * exp(-0.5 * x * x);
	case ACT_GELU_TANH: {
		float t = tanh_of(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x));
		return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044715 * x * x);
	}
	case ACT_SILU: {
		float s = sigmoid_of(x);
		return s * (1.0 + x * (1.0 - s));
	}
	case ACT_RELU:
		return x > 0.0 ? 1.0 : 0.0;
	default:
		return 1.0;
	}
}
