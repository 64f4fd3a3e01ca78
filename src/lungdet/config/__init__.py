"""What a composed configuration may say, and the check that runs before every command."""

from lungdet.config.checks import check_config
from lungdet.config.location import conf_folder

__all__ = ["check_config", "conf_folder"]
