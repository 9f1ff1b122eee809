"""What a thesis takes over: figures with captions, LaTeX tables, numbers as macros, and one document."""

from medrob.thesis.bundle import CAPTIONS, Bundle, checksums, documents, file_name
