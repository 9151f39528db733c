-- remember: keep a result for those who ask the same again.
--
-- KEYS  cached_         STRING  by what was asked: a result
--       cached_results  ZSET    what was asked, by when it goes
-- SETS  cache_entries_max  int  kept at most; those that would go next make room
-- ARGV  asked   str  what was asked
--       result  str  JSON
--       ttl_ms  int  how long it is good for
-- Returns how many are kept. Refused like a submit when Redis is out of memory.
local DROPS_MAX = 20
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('SET', cached_ .. asked, result, 'PX', ttl_ms)
redis.call('ZADD', cached_results, string.format('%d', now + ttl_ms), asked)
redis.call('ZREMRANGEBYSCORE', cached_results, '-inf', string.format('%d', now))
local over = math.min(DROPS_MAX, redis.call('ZCARD', cached_results) - cache_entries_max)
for _, each in ipairs(over > 0 and redis.call('ZRANGE', cached_results, 0, over - 1) or {}) do
  redis.call('DEL', cached_ .. each)
  redis.call('ZREM', cached_results, each)
end
return redis.call('ZCARD', cached_results)
