"""What every test shares: hypothesis profiles, and that Ctrl-C is heard.

``HYPOTHESIS_PROFILE=thorough make test`` looks ten times as long for a counterexample.
"""

import os
import signal

from hypothesis import settings

settings.register_profile("quick", deadline=None, print_blob=True)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# In the background of a shell it is ignored, and by every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
