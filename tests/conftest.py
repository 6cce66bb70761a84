"""What every test shares: hypothesis profiles.

``HYPOTHESIS_PROFILE=thorough make test`` looks ten times as long for a counterexample.
"""

import os

from hypothesis import settings

settings.register_profile("quick", deadline=None, print_blob=True)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
