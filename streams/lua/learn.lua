-- learn: take in how long things took.
--
-- KEYS  learned  HASH  what → count, mean and spread in ms
-- ARGV  rest...  what, count, mean, spread of the new values
-- Returns how many fields were written. Repeated, values count twice.
-- A field that is new when there are FIELDS_MAX is left out. `streams.learned.merged` is the same
-- rule.
local SHARE, FIELDS_MAX = 0.1, 2000
local written = 0
for i = rest, #ARGV, 4 do
  local what, n, mean, spread = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local known = redis.call('HGET', learned, what)
  local count = n
  if known then
    local had, old, far = string.match(known, '^(%S+) (%S+) (%S+)$')
    count = had + n
    local share = math.max(1 - (1 - SHARE) ^ n, n / count)
    spread = far + share * (math.max(spread, math.abs(mean - old)) - far)
    mean = old + share * (mean - old)
  end
  if known or redis.call('HLEN', learned) < FIELDS_MAX then
    redis.call('HSET', learned, what, string.format('%d %.3f %.3f', count, mean, spread))
    written = written + 1
  end
end
return written
