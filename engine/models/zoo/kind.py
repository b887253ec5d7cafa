"""What config.json calls the models that were trained with each mechanism."""

KIND = "attention_zoo"
ARCHITECTURE = "ZooForCausalLM"
