"""DICOM over the network, by pynetdicom."""
