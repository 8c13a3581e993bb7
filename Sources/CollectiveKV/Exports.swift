/// The words that callers share with the store: ids, shapes, entries, element types, errors.

@_exported public import CacheTypes
