"""The same small language model, trained from the start with each mechanism.

`engine.models.load("assets/models/zoo/window")` reads with one; `import engine.models.zoo.network`
makes them known to transformers' `AutoModelForCausalLM`.
"""
