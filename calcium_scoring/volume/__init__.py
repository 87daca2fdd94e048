"""What a CT volume is: values on a grid whose place in the patient is known."""
