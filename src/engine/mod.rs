//! A build graph to results: the scheduler, the ops it runs, sources, registries, exports.
