#include "tests/op_test.h"

int main(void)
{
	return op_test_main("ops_recover", op_cases_recover);
}
