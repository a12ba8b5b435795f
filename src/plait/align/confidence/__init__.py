"""Confidence that a model states in words: read, rewarded, trained, measured, and used.

`parse` and `prompts` are the format, `teach` the texts it is learnt from; `rewards` say what a stated confidence earns,
`offline` makes preference pairs of them and `online` reward functions for TRL; `quality` and `judges` mark answers;
`elicit` computes the probability of every confidence, `metrics` and `figures` say how well they fit, and `retrieval`
what looking up by them saves.
"""
