"""The choice among the candidate models, and the test of what their segments would have been worth."""
