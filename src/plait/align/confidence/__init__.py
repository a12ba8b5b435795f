"""Confidence that a model states in words: read, rewarded, trained, measured, and used.

`parse` and `prompts` are the format, `teach` the texts it is learnt from; `rewards` say what a stated confidence earns,
`offline` makes preference pairs of them and `online` reward functions for TRL; `quality` and `judges` mark
answers, and `reward_model` trains a scorer of them; `elicit` computes the probability of every confidence, `metrics`,
`stated` and `figures` say how well they fit (`counted` for many resamples at once), and `retrieval` what looking up by
them saves.
"""
