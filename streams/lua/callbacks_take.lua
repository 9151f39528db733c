-- callbacks_take: lease callbacks to one courier.
--
-- uses  ledger
-- KEYS  gate             -       deleted first: a write that needs no memory opens the script at maxmemory
--       calls_           STRING  by courier: the last call's number and the ids it was given
--       callback_        HASH    by callback
--       callbacks        STREAM  callbacks to deliver
--       callback_leases  ZSET    id|entry by deadline
--       callback_due     ZSET    callbacks by the time of their next attempt
-- ARGV  courier   str  consumer
--       sequence  int  the call's number; the last again repeats the answer, a lower one is stale
--       token     str  base of the tokens of this call
--       slots     int  at most this many
--       lease_ms  int  until the deadline
-- Returns {look_again_ms, record, ...}: -1 when nothing is known; a record is {id, token, HGETALL}.
local CALL_TTL_MS, DUE_MAX = 86400000, 100
redis.call('DEL', gate)
slots = tonumber(slots)
local reply, granted, call_key = { -1 }, {}, calls_ .. courier

local last, last_ids = string.match(redis.call('GET', call_key) or '0', '^(%d+) ?(.*)$')
if tonumber(sequence) < tonumber(last) then return { 0 } end
if tonumber(sequence) == tonumber(last) then
  local n = 0
  for id in string.gmatch(last_ids, '%S+') do
    n = n + 1
    local own = token .. '.' .. n
    if redis.call('HGET', callback_ .. id, 'token') == own then
      reply[#reply + 1] = { id, own, redis.call('HGETALL', callback_ .. id) }
    end
  end
  return reply
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', callback_due, '-inf', now, 'LIMIT', 0, DUE_MAX)) do
  redis.call('XADD', callbacks, '*', 'c', id)
  redis.call('ZREM', callback_due, id)
end

local function lease(entry, id)
  local status = redis.call('HGET', callback_ .. id, 'status')
  if not status then
    redis.call('XACK', callbacks, 'couriers', entry)
    redis.call('XDEL', callbacks, entry)
    redis.call('ZREM', callback_leases, id .. '|' .. entry)
    return
  end
  granted[#granted + 1] = id
  local own = token .. '.' .. #granted
  redis.call('ZADD', callback_leases, now + lease_ms, id .. '|' .. entry)
  redis.call('HINCRBY', callback_ .. id, 'tries', 1)
  redis.call('HSET', callback_ .. id, 'token', own, 'entry', entry, 'courier', courier)
  reply[#reply + 1] = { id, own, redis.call('HGETALL', callback_ .. id) }
end

-- Makes the group where it is missing: before the first callback, or because somebody destroyed it.
local function with_group(...)
  local reply = redis.pcall(...)
  if reply and reply.err then
    redis.call('XGROUP', 'CREATE', callbacks, 'couriers', '0', 'MKSTREAM')
    reply = redis.call(...)
  end
  return reply
end

local function read_new(count)
  local read = with_group('XREADGROUP', 'GROUP', 'couriers', courier, 'COUNT', count, 'STREAMS', callbacks, '>')
  return read and read[1][2] or {}
end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', callback_leases, '-inf', now, 'LIMIT', 0, slots)) do
  local id, entry = string.match(member, '^(.*)|(.-)$')
  local claimed = with_group('XAUTOCLAIM', callbacks, 'couriers', courier, 0, entry, 'COUNT', 1)
  if claimed[2][1] and claimed[2][1][1] == entry then
    lease(entry, id)
  else
    redis.call('XACK', callbacks, 'couriers', entry)
    redis.call('XDEL', callbacks, entry)
    redis.call('ZREM', callback_leases, member)
    if redis.call('HGET', callback_ .. id, 'status') == 'waiting' then
      redis.call('XADD', callbacks, '*', 'c', id)
    end
  end
end
if #granted < slots then
  for _, entry in ipairs(read_new(slots - #granted)) do lease(entry[1], entry[2][2]) end
end

redis.call('SET', call_key, sequence .. ' ' .. table.concat(granted, ' '), 'PX', CALL_TTL_MS)
if #granted < slots then
  local due = redis.call('ZRANGE', callback_due, 0, 0, 'WITHSCORES')[2]
  local late = redis.call('ZRANGE', callback_leases, 0, 0, 'WITHSCORES')[2]
  local again = math.min(tonumber(due or math.huge), tonumber(late or math.huge))
  if again < math.huge then reply[1] = math.max(0, again - now) end
end
return reply
