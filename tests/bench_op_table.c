/* Times the table of operation tests: microseconds a call, the operation recorded often
 * in a row, each call waiting for the one before. */
#include "tests/op_test.h"

int main(void)
{
	const struct op_case *const tables[] = {op_cases_norm, op_cases_attention, op_cases_elementwise, op_cases_sae,
						op_cases_recover};
	for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
		if (op_test_bench(tables[i]))
			return 1;
	return 0;
}
