@_exported public import CacheTypes
