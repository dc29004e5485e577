// What qkv.comp and qkv_back.comp share: where a head's values lie, and its rotation.
layout(constant_id = 0) const uint NORM = 0;    // enum op_norm of q and k
layout(constant_id = 1) const uint BY_HEAD = 0; // enum op_qkv_order

const uint PART_Q = 0, PART_K = 1, PART_V = 2;
struct qkv_slot {
	uint part, head;
	uint column; // of its first value in a row of qkv
};

// Slot 0 .. H+2K-1: the query heads, the key heads, the value heads.
qkv_slot qkv_find(uint slot, push_qkv p)
{
	uint part = slot < p.heads ? PART_Q : slot < p.heads + p.kv_heads ? PART_K : PART_V;
	uint head = slot - (part == PART_Q ? 0 : part == PART_K ? p.heads : p.heads + p.kv_heads);
	return qkv_slot(part, head, BY_HEAD != 0 ? (head * 3 + part) * p.head_dim : slot * p.head_dim);
}
