"""Language models of the transformers library, steered by patching the forward of the modules that z changes."""
