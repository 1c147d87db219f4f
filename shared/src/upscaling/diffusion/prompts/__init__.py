"""Prompts in the two dialects that they are written in: weights in brackets, chunks of 75 tokens, embeddings.

`comfyui` and `a1111` each have `tokenize(text, embeddings)`, whose result `encode` takes.

| | comfyui | a1111 |
|---|---|---|
| `(a)` | 1.1 times the weight around it | the same |
| `(a:1.3)` | weight 1.3, whatever is around it | 1.3 times the weight around it |
| `[a]` | text | the weight around it, divided by 1.1 |
| `BREAK` | text | what follows begins a new chunk |
| `<lora:name:0.8>` | text | taken out by `without_loras` |
| `[a:b:0.5]`, `[a|b]` | text | changes the prompt between steps; refused |
| `AND` | text | joins several prompts; text here |
| escapes | `\\( \\)` | `\\( \\) \\[ \\] \\\\` |
| unbalanced `(` | text | open to the end of the prompt |
| unbalanced `)` | text, and so is everything up to an even count | text |
| end of a chunk | a short word goes to the next chunk whole | anywhere, or after a comma among the last 20 tokens |
| weight w of a state z | e + w (z - e), with e of the empty prompt | w z, scaled to the chunk's mean before |
| embeddings | `embedding:name` | the name alone |
"""

from upscaling.diffusion.prompts.tokens import Embeddings, Prompt

__all__ = ["Embeddings", "Prompt"]
