-- callbacks_take: lease callbacks to one courier, from lanes whose endpoint has room for them.
--
-- uses  ledger append callbacks
-- KEYS  gate          -       deleted first: a write that needs no memory opens the script at maxmemory
--       calls_        STRING  by courier: the last call's number and the ids it was given
--       callback_due  ZSET    callbacks by the time of their next attempt
-- ARGV  courier       str  consumer
--       sequence      int  the call's number; the last again repeats the answer, a lower one is stale
--       token         str  base of the tokens of this call
--       slots         int  at most this many
--       lease_ms      int  until the deadline
--       endpoint_max  int  deliveries under way to one endpoint; an ordered one has 1
--       host_max      int  deliveries under way to one host
-- Returns {look_again_ms, record, ...}: -1 when nothing is known; a record is {id, token, HGETALL}.
-- O(LANES_MAX + slots). An expired lease is a head like any other, and so is the held head of an
-- ordered lane. What lies in the lane of a disabled endpoint becomes dead letters here.
local CALL_TTL_MS, DUE_MAX, LANES_MAX, BURY_MAX, HOST_WAIT_MS = 86400000, 100, 64, 100, 250
redis.call('DEL', gate)
slots, endpoint_max, host_max = tonumber(slots), tonumber(endpoint_max), tonumber(host_max)
local reply, granted, call_key = { -1 }, {}, calls_ .. courier

-- ------------------------------------------------------------ numbered calls
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
  local endpoint = redis.call('HGET', callback_ .. id, 'endpoint')
  redis.call('ZREM', callback_due, id)
  if endpoint then enlist(endpoint, id) end
end

-- ------------------------------------------------------------ lease
local deadline = string.format('%d', now + lease_ms)

local function host_room(endpoint)
  if endpoint.host == '' then return host_max end
  return host_max - tonumber(redis.call('HGET', callback_hosts, endpoint.host) or 0)
end

-- The first delivery after a breaker's time is its probe: until that is judged the breaker is open.
local function probe(name, endpoint, own)
  endpoint['until'] = now + lease_ms
  redis.call('HSET', endpoint_ .. name, 'until', deadline, 'probe', own)
end

local function lease(name, endpoint, id, entry)
  local row = redis.call('HMGET', callback_ .. id, 'status', 'entry', 'host')
  local elsewhere = row[2] and row[2] ~= entry and lease_of(id, row[2], name)
  if row[1] ~= 'waiting' or (elsewhere and redis.call('ZSCORE', callback_leases, elsewhere)) then
    return let_go_of(name, id, entry)
  end
  granted[#granted + 1] = id
  local own = token .. '.' .. #granted
  redis.call('ZADD', callback_leases, deadline, lease_of(id, entry, name))
  if not row[3] and endpoint.host ~= '' then
    redis.call('HINCRBY', callback_hosts, endpoint.host, 1)
    redis.call('HSET', callback_ .. id, 'host', endpoint.host)
  end
  redis.call('HINCRBY', callback_ .. id, 'tries', 1)
  redis.call('HDEL', callback_ .. id, 'due')
  redis.call('HSET', callback_ .. id, 'token', own, 'entry', entry, 'courier', courier,
    'edition', endpoint.edition)
  if endpoint.open then probe(name, endpoint, own) end
  reply[#reply + 1] = { id, own, redis.call('HGETALL', callback_ .. id) }
end

-- How many deliveries of a lane are under way. Makes its group where it is missing: before the first
-- callback, or because somebody destroyed it.
local function under_way(stream)
  local pending = redis.pcall('XPENDING', stream, 'couriers')
  if not pending.err then return pending[1] end
  redis.call('XGROUP', 'CREATE', stream, 'couriers', '0')
  return 0
end

local function read_new(stream, count)
  local read = redis.call('XREADGROUP', 'GROUP', 'couriers', courier, 'COUNT', count, 'STREAMS', stream, '>')
  return read and read[1][2] or {}
end

-- ------------------------------------------------------------ leases that ran out
local function bury(name, id, entry, why)
  why = 'endpoint ' .. name .. ' is disabled: ' .. why
  if redis.call('HGET', callback_ .. id, 'status') == 'waiting' then
    leave_host(id, redis.call('HGET', callback_ .. id, 'host'))
    end_callback(id, 'dead', why)
    redis.call('HSET', callback_ .. id, 'token', '')
  end
  let_go_of(name, id, entry)
end

local function reclaim(name, endpoint, id, entry)
  local stream = callbacks_ .. name
  if redis.call('EXISTS', stream) == 1 and under_way(stream) > 0 then
    local claimed = redis.call('XAUTOCLAIM', stream, 'couriers', courier, 0, entry, 'COUNT', 1)[2][1]
    if claimed and claimed[1] == entry then return lease(name, endpoint, id, entry) end
  end
  -- Somebody deleted the entry, or the group: it starts anew at the end of the lane.
  let_go_of(name, id, entry)
  if redis.call('HGET', callback_ .. id, 'status') == 'waiting' then enlist(name, id) end
end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', callback_leases, '-inf', now, 'LIMIT', 0, slots)) do
  local id, entry, name = string.match(member, '^(.-)|(.-)|(.*)$')
  local endpoint = endpoint_of(name)
  if endpoint.disabled then
    bury(name, id, entry, endpoint.disabled)
    seat(name, now)
  elseif endpoint['until'] > now then
    redis.call('ZADD', callback_leases, 'XX', endpoint['until'], member)
  else
    reclaim(name, endpoint, id, entry)
  end
end

-- ------------------------------------------------------------ lanes
local function bury_lane(name, why)
  local stream = callbacks_ .. name
  under_way(stream)
  local entries = read_new(stream, BURY_MAX)
  for _, entry in ipairs(entries) do
    if not redis.call('ZSCORE', callback_leases, lease_of(entry[2][2], entry[1], name)) then
      bury(name, entry[2][2], entry[1], why)
    end
  end
  seat(name, #entries < BURY_MAX and IDLE or now)
end

local function serve(name, endpoint)
  local stream = callbacks_ .. name
  local limit = (endpoint.ordered or endpoint.open) and 1 or endpoint_max
  local free, hosted = limit - under_way(stream), host_room(endpoint)
  local room = math.min(free, hosted, slots - #granted)
  if room <= 0 then
    return seat(name, free <= 0 and now + FULL_MS or now + HOST_WAIT_MS)
  end
  local entries = read_new(stream, room)
  for _, entry in ipairs(entries) do
    local id = entry[2][2]
    -- One that is leased comes again when the group was made anew: its lease stands.
    if not redis.call('ZSCORE', callback_leases, lease_of(id, entry[1], name)) then
      lease(name, endpoint, id, entry[1])
    end
  end
  if endpoint['until'] > now then return seat(name, endpoint['until']) end
  if #entries < room then return seat(name, IDLE) end
  seat(name, room == free and now + FULL_MS or room == hosted and now + HOST_WAIT_MS or exact)
end

local ready = redis.call('ZRANGEBYSCORE', callback_lanes, '-inf', string.format('%.3f', exact), 'LIMIT', 0, LANES_MAX)
for _, name in ipairs(ready) do
  if #granted >= slots then break end
  local endpoint = endpoint_of(name)
  if redis.call('EXISTS', callbacks_ .. name) == 0 then
    redis.call('ZREM', callback_lanes, name)
  elseif endpoint.disabled then
    bury_lane(name, endpoint.disabled)
  elseif endpoint['until'] > now then
    seat(name, endpoint['until'])
  else
    serve(name, endpoint)
  end
end

-- ------------------------------------------------------------ write down, say when to look again
redis.call('SET', call_key, sequence .. ' ' .. table.concat(granted, ' '), 'PX', CALL_TTL_MS)
if #granted < slots then
  local again = math.huge
  for _, key in ipairs({ callback_due, callback_leases, callback_lanes }) do
    again = math.min(again, tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or math.huge))
  end
  if again < math.huge then reply[1] = math.max(0, again - now) end
end
return reply
