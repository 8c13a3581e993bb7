import CacheTypes
