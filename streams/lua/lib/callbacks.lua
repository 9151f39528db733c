-- callbacks: how a callback ends, how its entry is let go, and where its lane then stands.
-- Needs ledger and append.
--
-- KEYS  callback_        HASH  by callback
--       callback_leases  ZSET  id|entry|endpoint by deadline
--       callback_hosts   HASH  host → deliveries under way
--       callback_done    ZSET  delivered, by time
--       callback_dead    ZSET  given up, by time
--       callback_counts  HASH  recorded, waiting, delivered, dead
--       endpoint_        HASH  by endpoint: edition, host, ordered, disabled, breaker
--       endpoints        HASH  registered endpoints by id
-- SETS  retention_ms       int  how long a delivered callback is kept
--       dead_retention_ms  int  how long a given up callback is kept
-- A lane's score says when a courier is to look: one that is full or whose breaker is open stands in
-- the future, one of which all is under way at IDLE, and an empty one is not there.
local exact = time[1] * 1000 + time[2] / 1000 -- turns may be shorter than a millisecond
local FULL_MS = 60000 -- a settle brings a full lane back at once; this is for one that never comes

local function lease_of(id, entry, endpoint)
  return id .. '|' .. entry .. '|' .. endpoint
end

-- Ends a waiting callback; `reason` is why it is dead.
local function end_callback(id, state, reason)
  local key, dead = callback_ .. id, state == 'dead'
  redis.call('HSET', key, 'status', state, 'reason', reason or '')
  redis.call('ZADD', dead and callback_dead or callback_done, now_text, id)
  redis.call('PEXPIRE', key, dead and dead_retention_ms or retention_ms)
  redis.call('HINCRBY', callback_counts, 'waiting', -1)
  redis.call('HINCRBY', callback_counts, state, 1)
end

-- One delivery less to a host.
local function leave_host(id, host)
  if host and host ~= '' and redis.call('HINCRBY', callback_hosts, host, -1) <= 0 then
    redis.call('HDEL', callback_hosts, host)
  end
  redis.call('HDEL', callback_ .. id, 'host')
end

-- Lets an entry and its lease go, last of all that is written of a delivery.
local function let_go_of(endpoint, id, entry)
  redis.call('ZREM', callback_leases, lease_of(id, entry, endpoint))
  redis.call('XACK', callbacks_ .. endpoint, 'couriers', entry)
  redis.call('XDEL', callbacks_ .. endpoint, entry)
end

-- Puts a lane where couriers find it at that time, or drops it when it is empty.
local function seat(endpoint, at)
  if redis.call('XLEN', callbacks_ .. endpoint) == 0 then
    redis.call('DEL', callbacks_ .. endpoint)
    redis.call('ZREM', callback_lanes, endpoint)
  else
    redis.call('ZADD', callback_lanes, string.format('%.3f', at), endpoint)
  end
end

-- Whether it is registered: of one that was deleted nothing is remembered.
local function is_known(name)
  return redis.call('HGET', endpoints, name) and true
end

local READ = { 'disabled', 'until', 'open', 'ordered', 'host', 'edition' }
local known = {}

-- What the script needs to know of an endpoint, read once.
local function endpoint_of(name)
  local found = known[name]
  if not found then
    found = {}
    for i, value in ipairs(redis.call('HMGET', endpoint_ .. name, unpack(READ))) do
      if value then found[READ[i]] = value end
    end
    found['until'] = tonumber(found['until'] or 0)
    found.host, found.edition = found.host or '', found.edition or ''
    known[name] = found
  end
  return found
end
