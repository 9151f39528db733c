-- append: how a job becomes runnable: an entry at the tail of its lane, with its age base; what is
-- kept of the attempt before; and how a callback becomes deliverable: an entry at the tail of its
-- endpoint's lane.
-- Needs ledger.
--
-- KEYS  stream_    STREAM  by lane
--       streams_   SET     by class: lanes whose stream exists
--       lanes_     ZSET    by class:priority: lanes with undelivered entries by the head's age base
--       doorbell_  STREAM  by class
--       job_       HASH    by job
--       due_       ZSET    by class
--       callbacks_      STREAM  by endpoint
--       callback_lanes  ZSET    endpoints with callbacks to deliver, by when to look
-- A lane's group and stream are made here and nowhere else; the doorbell rings when a lane stops
-- being empty, since a worker that waits has found all its lanes empty.
local rung = {}
local bases = {}

-- The class's open time as text.
local function clock_text(class)
  if not bases[class] then bases[class] = whole(clock(class).open) end
  return bases[class]
end

local function ring(class)
  if rung[class] then return end
  rung[class] = true
  redis.call('XADD', doorbell_ .. class, 'MAXLEN', 16, '*', 'ring', '1')
end

-- `base` is now, but where a job keeps the age that it has.
local function append(id, lane, base)
  local class, _, priority = lane_parts(lane)
  local stream = stream_ .. lane
  base = base or clock_text(class)
  if redis.call('ZADD', lanes_ .. class .. ':' .. priority, 'NX', base, lane) == 1 then
    if redis.call('EXISTS', stream) == 0 then
      redis.call('XGROUP', 'CREATE', stream, 'workers', '0', 'MKSTREAM')
      redis.call('SADD', streams_ .. class, lane)
    end
    ring(class)
  end
  return redis.call('XADD', stream, '*', 'j', id, 't', base)
end

-- Makes the group anew where somebody destroyed it.
local function last_delivered(stream)
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local name, id
    for i = 1, #group, 2 do
      if group[i] == 'name' then name = group[i + 1] end
      if group[i] == 'last-delivered-id' then id = group[i + 1] end
    end
    if name == 'workers' then return id end
  end
  -- All that is in the lane counts as undelivered again.
  redis.call('XGROUP', 'CREATE', stream, 'workers', '0')
  return '0-0'
end

-- At most `count` undelivered entries of a lane, oldest first.
local function undelivered(lane, count)
  local stream = stream_ .. lane
  if redis.call('EXISTS', stream) == 0 then return {} end
  return redis.call('XRANGE', stream, '(' .. last_delivered(stream), '+', 'COUNT', count)
end

-- Puts a lane where its head's age belongs, or out of the set when nothing is undelivered.
local function reseat(lane, head)
  local class, _, priority = lane_parts(lane)
  if head then
    redis.call('ZADD', lanes_ .. class .. ':' .. priority, head[2][4], lane)
  else
    redis.call('ZREM', lanes_ .. class .. ':' .. priority, lane)
  end
end

-- Drops a lane's stream when it holds nothing at all.
local function drop_if_empty(lane)
  if redis.call('XLEN', stream_ .. lane) == 0 then
    local class, _, priority = lane_parts(lane)
    redis.call('DEL', stream_ .. lane)
    redis.call('SREM', streams_ .. class, lane)
    redis.call('ZREM', lanes_ .. class .. ':' .. priority, lane)
  end
end

-- Moves a job from the due set to its lane.
local function promote(id, class)
  redis.call('ZREM', due_ .. class, id)
  local row = redis.call('HMGET', job_ .. id, 'lane', 'state')
  local lane = row[1]
  if row[2] ~= 'delayed' then return end -- nothing that this platform does leaves such a member
  redis.call('HSET', job_ .. id, 'state', 'waiting', 'entry', append(id, lane))
  move(lane, 'delayed', 'waiting')
end

-- Keeps how an attempt went that another will follow: start, end, worker, how it ended, fraction, note,
-- token (of one that was lost none, so that it writes no more), code, message. The newest stands in the record's own fields; with it ATTEMPTS_MAX are kept.
local ATTEMPTS_MAX = 20

local function keep_attempt(id, attempt, ending, ended, code, message)
  local key = job_ .. id
  local row = redis.call('HMGET', key, 'lease', 'progress', 'note', 'token', 'start', 'worker')
  local was = { token = row[4], start = row[5] or '', worker = row[6] or '' } -- before it was one field
  if row[1] then read_lease(row[1], was) end
  if not was.token then return end -- nothing that this platform does takes it away
  local token = ending == 'lost' and '' or string.gsub(was.token, '^-', '')
  local line = { was.start, ended, was.worker, ending, row[2] or '', row[3] or '', token, code or '',
    message or '' }
  local old = attempt + 1 - ATTEMPTS_MAX
  redis.call('HSET', key, 'try:' .. attempt, table.concat(line, '\t'))
  redis.call('HDEL', key, 'progress', 'note', 'try:' .. old, 'log:' .. old)
end

-- Makes a callback deliverable. A lane that couriers are to leave alone for a while keeps its time;
-- one of which all is under way stands at IDLE.
local IDLE = 1e15

local function enlist(endpoint, id)
  redis.call('XADD', callbacks_ .. endpoint, '*', 'c', id)
  local at = redis.call('ZSCORE', callback_lanes, endpoint)
  if not at or tonumber(at) >= IDLE then
    redis.call('ZADD', callback_lanes, now_text, endpoint)
    ring('callbacks')
  end
end
