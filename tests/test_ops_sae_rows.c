#include "tests/op_test.h"

int main(void)
{
	return op_test_main("ops_sae_rows", op_cases_sae_rows);
}
