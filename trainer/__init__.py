"""The trainer: one language model, one fixed budget, one metric (val_bpb). Never imports `lab`."""
