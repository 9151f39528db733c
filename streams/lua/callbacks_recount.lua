-- callbacks_recount: count deliveries under way by host anew, from the leases.
--
-- KEYS  callback_        HASH  by callback
--       callback_leases  ZSET  id|entry|endpoint by deadline
--       callback_hosts   HASH  host → deliveries under way
-- ARGV  count  int  leases to look at; with more of them nothing is done
-- Returns how many leases there are.
local held = redis.call('ZCARD', callback_leases)
if held > tonumber(count) then return held end
redis.call('DEL', callback_hosts)
for _, member in ipairs(redis.call('ZRANGE', callback_leases, 0, -1)) do
  local host = redis.call('HGET', callback_ .. string.match(member, '^[^|]*'), 'host')
  if host then redis.call('HINCRBY', callback_hosts, host, 1) end
end
return held
