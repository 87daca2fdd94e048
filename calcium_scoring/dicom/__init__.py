"""The only place that knows DICOM: reading series, and writing masks and series."""

import logging

import pydicom.config

# A header is judged here, attribute by attribute, and a refusal says what is wrong with it;
# pydicom's own complaints quote values, and values may be a patient's.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
