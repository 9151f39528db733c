-- audit_leases: drop leases that have run out and whose entry is gone; nobody else would see them.
--
-- uses  ledger append
-- KEYS  audit    HASH  mended|what → jobs
--       leases_  ZSET  by pool
--       pools_   SET   by class
-- ARGV  class  str  resource class
--       count  int  at most this many of each pool, the oldest ones
-- Returns how many were dropped. Their jobs are left to audit_jobs.
local dropped, pools = 0, { [class] = true }
for _, pool in ipairs(redis.call('SMEMBERS', pools_ .. class)) do pools[pool] = true end

local function stands(lane, entry)
  local stream = stream_ .. lane
  return redis.call('EXISTS', stream) == 1 and redis.call('XRANGE', stream, entry, entry)[1]
end

for pool in pairs(pools) do
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', leases_ .. pool, '-inf', now, 'LIMIT', 0, count)) do
    local lane, entry = string.match(member, '^(.*)|(%d+%-%d+)$')
    if not lane or not stands(lane, entry) then
      redis.call('ZREM', leases_ .. pool, member)
      redis.call('HINCRBY', audit, 'mended|lease without entry', 1)
      dropped = dropped + 1
    end
  end
end
return dropped
