/* enum op_norm (compute/ops.h) */
#define NORM_NONE     0
#define NORM_LAYER    1
#define NORM_RMS      2
#define NORM_RMS_PLUS 3
