"""The original BEVFormer beside ours and the exported graph, tensor by tensor."""
