#include "tests/op_test.h"

int main(void)
{
	return op_test_main("ops_elementwise", op_cases_elementwise);
}
