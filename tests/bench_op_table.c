/* Times the table of operation tests: microseconds a call, the operation recorded often
 * in a row, each call waiting for the one before. An argument picks the cases whose names
 * hold it. */
#include "tests/op_test.h"

int main(int argc, char **argv)
{
	const struct op_case *const tables[] = {op_cases_norm,	   op_cases_attention, op_cases_elementwise,
						op_cases_sae,	   op_cases_sae_rows,  op_cases_recover,
						op_cases_jacobian, op_cases_probes};
	for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
		if (op_test_bench(tables[i], argc > 1 ? argv[1] : NULL))
			return 1;
	return 0;
}
