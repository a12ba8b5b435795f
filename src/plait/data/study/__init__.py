"""Study mode: everything is measured once, then thresholds are predicates.

table, what_if     the stats table, and what other thresholds would keep of it
suggest, tune      thresholds by rule, by labels, by search
analyze            what is in a corpus, in one pass of constant memory
sketch             what that pass keeps: counts, percentiles (bins), means (moments), hashes (bottom), drops
agree, joint       owners agree on thresholds, and on who keeps which text, without moving any; privacy adds noise
report             all of it for a person
"""
