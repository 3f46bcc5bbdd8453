"""From sound files to the windows that models see, decoded ahead in processes of their own.

`sound_files`, `links` and `mp3` open files of any format; `clips` decodes one; `windows` cuts it;
`decoders`, `process` and `worker` do this in other processes. What other rooms use is named here.
Nothing of it imports torch.
"""

from svuprobe.extractors.audio.clips import fingerprint, identity_of, load_clip, load_samples
from svuprobe.extractors.audio.decoders import TIMEOUT_S, Decoders
from svuprobe.extractors.audio.sound_files import FileHead, shown
from svuprobe.extractors.audio.windows import ClipEnd, InputSpec, Window, cut_samples

__all__ = [
    "TIMEOUT_S",
    "ClipEnd",
    "Decoders",
    "FileHead",
    "InputSpec",
    "Window",
    "cut_samples",
    "fingerprint",
    "identity_of",
    "load_clip",
    "load_samples",
    "shown",
]
