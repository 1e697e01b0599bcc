"""``python -m es_rerank`` is the command ``es-rerank``."""

from .cli.app import main

if __name__ == "__main__":
    main()
