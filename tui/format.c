#include "tui/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* "0.81" -> ".81", "-0.81" -> "-.81" */
static void drop_zero(char *text)
{
	char *digits = text[0] == '-' || text[0] == '+' ? text + 1 : text;
	if (digits[0] == '0' && digits[1] == '.')
		memmove(digits, digits + 1, strlen(digits));
}

static const char *format(char out[FORMAT_SIZE], double value, const char *sign)
{
	double size = fabs(value);
	if (isnan(value))
		snprintf(out, FORMAT_SIZE, "·");
	else if (isinf(value))
		snprintf(out, FORMAT_SIZE, "%sinf", value < 0 ? "-" : sign);
	else if (value == 0)
		snprintf(out, FORMAT_SIZE, "0");
	else {
		int decimals = size < .00095  ? 5
			       : size < .0095 ? 4
			       : size < .0995 ? 3
			       : size < .995  ? 2
			       : size < 99.5  ? 1
					      : 0;
		if (size < .000095 || size >= 1e5)
			snprintf(out, FORMAT_SIZE, "%s%.0e", value < 0 ? "-" : sign, size);
		else
			snprintf(out, FORMAT_SIZE, "%s%.*f", value < 0 ? "-" : sign, decimals, size);
		char *exponent = strstr(out, "e-0");
		if (!exponent)
			exponent = strstr(out, "e+0");
		if (exponent) /* "2e-07" -> "2e-7" */
			memmove(exponent + 2, exponent + 3, strlen(exponent + 2));
		drop_zero(out);
	}
	return out;
}

const char *format_number(char out[FORMAT_SIZE], double value)
{
	return format(out, value, "");
}

const char *format_signed(char out[FORMAT_SIZE], double value)
{
	return format(out, value, "+");
}

/* Two significant digits of a number above 0. */
static double round_two(double value)
{
	double unit = pow(10, floor(log10(value)) - 1);
	return round(value / unit) * unit;
}

const char *format_rate(char out[FORMAT_SIZE], double share)
{
	double of = share > 0 ? round_two(1 / share) : 0;
	if (isnan(share))
		snprintf(out, FORMAT_SIZE, "·");
	else if (share <= 0)
		snprintf(out, FORMAT_SIZE, "never");
	else if (of <= 1)
		snprintf(out, FORMAT_SIZE, "always");
	else if (of < 9.95)
		snprintf(out, FORMAT_SIZE, "1 in %.1f", of);
	else if (of >= 1e9)
		snprintf(out, FORMAT_SIZE, "1 in %.0e", of);
	else if (of >= 1e6)
		snprintf(out, FORMAT_SIZE, "1 in %d,%03d,%03d", (int)(of / 1e6), (int)(of / 1e3) % 1000,
			 (int)of % 1000);
	else if (of >= 1e3)
		snprintf(out, FORMAT_SIZE, "1 in %d,%03d", (int)(of / 1e3), (int)of % 1000);
	else
		snprintf(out, FORMAT_SIZE, "1 in %.0f", of);
	return out;
}

const char *format_training(char out[FORMAT_TRAINING_SIZE], double share)
{
	char rate[FORMAT_SIZE];
	format_rate(rate, share);
	if (strncmp(rate, "1 in", 4) == 0)
		snprintf(out, FORMAT_TRAINING_SIZE, "fires on %s tokens of its training data", rate);
	else
		snprintf(out, FORMAT_TRAINING_SIZE, "%s fired on its training data", rate);
	return out;
}

const char *format_duration(char out[FORMAT_SIZE], double seconds)
{
	if (!(seconds >= 0) || seconds > 1e6)
		snprintf(out, FORMAT_SIZE, "·");
	else if (seconds < .9995)
		snprintf(out, FORMAT_SIZE, "%.0f ms", seconds * 1000);
	else if (seconds < 99.95)
		snprintf(out, FORMAT_SIZE, "%.1f s", seconds);
	else
		snprintf(out, FORMAT_SIZE, "%d min %d s", (int)seconds / 60, (int)seconds % 60);
	return out;
}
