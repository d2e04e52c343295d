"""Several hospitals train one model together; only weights leave a site.

The engine is NVIDIA FLARE. :mod:`.client` and :mod:`.server` are its components, named by path in
a job that holds no code; the rest does not import it. One round: every site goes on from the same
weights for some steps of the usual training (:func:`..train.run_steps`), and the results are
averaged (McMahan et al. 2017, AISTATS, PMLR 54:1273) by the root of each site's number of cases.
"""
