-- callbacks_renew: later deadlines for deliveries under way.
--
-- uses  ledger
-- KEYS  gate             -     deleted first: a write that needs no memory opens the script at maxmemory
--       callback_        HASH  by callback
--       callback_leases  ZSET  id|entry|endpoint by deadline
-- ARGV  lease_ms  int  until the new deadline
--       rest...   callback, token
-- Returns the ids whose lease is lost.
redis.call('DEL', gate)
local lost, deadline = {}, string.format('%d', now + lease_ms)
for i = rest, #ARGV, 2 do
  local row = redis.call('HMGET', callback_ .. ARGV[i], 'token', 'entry', 'endpoint')
  if row[1] == ARGV[i + 1] then
    redis.call('ZADD', callback_leases, 'XX', deadline, ARGV[i] .. '|' .. row[2] .. '|' .. row[3])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
