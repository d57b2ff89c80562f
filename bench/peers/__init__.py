"""The systems that Alder is compared with, one module each."""
