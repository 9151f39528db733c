-- allow: take tokens out of what an app may use, for a gateway that spends them by itself (GCRA).
--
-- KEYS  rate_   STRING  by app|what: when the allowance is full again, in microseconds
-- ARGV  whose   str  app|what
--       per_s   num  tokens that come back each second
--       burst   int  tokens of a full allowance
--       needed  int  when these are not there, none are granted
--       wanted  int  else this many, the missing ones lent: the next wait is as much longer
-- Returns {granted, wait_us}: none, and how long until the needed ones are there, or all and 0.
-- More than `burst` are there when the allowance is full.
local rate, full = tonumber(per_s), tonumber(burst)
local need, want = tonumber(needed), tonumber(wanted)
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at = math.max(now, tonumber(redis.call('GET', rate_ .. whose) or 0))
local left = full - (full_at - now) / 1000000 * rate
local least = math.min(need, full)
-- A microsecond's worth of rounding must not make somebody wait twice.
if left + rate / 1000000 < least then
  return { 0, math.ceil((least - left) / rate * 1000000) }
end
full_at = full_at + want / rate * 1000000
local lasts_ms = math.ceil((full_at - now) / 1000) + 1000
redis.call('SET', rate_ .. whose, string.format('%.0f', full_at), 'PX', string.format('%.0f', lasts_ms))
return { want, 0 }
