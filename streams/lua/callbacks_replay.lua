-- callbacks_replay: deliver ended callbacks once more, with the same webhook-id and the same bytes.
--
-- uses  ledger append
-- KEYS  callback_        HASH  by callback
--       callback_done    ZSET  delivered, by time
--       callback_dead    ZSET  given up, by time
--       callback_counts  HASH  recorded, waiting, delivered, dead
-- ARGV  rest...  callbacks
-- Returns how many were replayed; those that still wait are left alone.
local replayed = 0
for i = rest, #ARGV do
  local id = ARGV[i]
  local row = redis.call('HMGET', callback_ .. id, 'status', 'endpoint')
  local status = row[1]
  if status == 'delivered' or status == 'dead' then
    enlist(row[2], id)
    redis.call('HSET', callback_ .. id, 'status', 'waiting', 'tries', 0)
    redis.call('HDEL', callback_ .. id, 'reason', 'due')
    redis.call('PERSIST', callback_ .. id)
    redis.call('ZREM', status == 'dead' and callback_dead or callback_done, id)
    redis.call('HINCRBY', callback_counts, status, -1)
    redis.call('HINCRBY', callback_counts, 'waiting', 1)
    replayed = replayed + 1
  end
end
return replayed
