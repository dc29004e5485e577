#include "tests/op_test.h"

int main(void)
{
	return op_test_main("ops_probes", op_cases_probes);
}
