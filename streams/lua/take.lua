-- take: lease work to one worker for one pool, in dispatch order.
--
-- uses  ledger append finish flow rule dispatch
-- KEYS  gate    -       deleted first: a write that needs no memory opens the script at maxmemory
--       calls_  STRING  by worker:pool: the last two calls' numbers and the ids they were given
-- SETS  take_payload_max_bytes    int  payloads in one answer
--       payload_inline_max_bytes  int  larger payloads are fetched by the attempt
-- ARGV  worker     str     consumer
--       sequence   int     the call's number; the last two again repeat their answers, others are stale
--       token      str     base of the tokens of this call
--       class      str     resource class
--       pool       str     what the total limit counts
--       slots      int     how many leases the worker asks for
--       lease_ms   int     until the deadline
--       resident   str     class ollama: the model in memory
--       models     int     how many models follow; -1: the class has none
--       rest...    the models, then the processors that the worker has
-- Returns {status, look_again_ms, lease, payload or false, lease, ...}; status is ok, stale or paused;
-- look_again_ms is -1 when nothing is known; a lease is id, token, lane, entry, attempt, limits, at, size, a
-- tab between, and of a job that is not bare or was leased before failures, tags, trace, flow, stage too.
-- O(lanes of the class + slots), at most LANES_MAX lanes of each priority.
local LANES_MAX, DUE_MAX, LATE_PAGE, LATE_PAGES, CALL_TTL_MS = 256, 100, 64, 16, 86400000

redis.call('DEL', gate)
slots, models = tonumber(slots), tonumber(models)
local reply, granted, call_key = { 'ok', -1 }, {}, calls_ .. worker .. ':' .. pool

-- ------------------------------------------------------------ the answer, within its byte budget
local budget = take_payload_max_bytes
local payloads, places = {}, {} -- keys of those that go along, and where in the answer they go

local function answer(id, size, row)
  local n = #reply
  reply[n + 1], reply[n + 2] = row, false
  size = tonumber(size)
  if size <= payload_inline_max_bytes and (size <= budget or n == 2) then
    payloads[#payloads + 1], places[#places + 1] = payload_ .. id, n + 2
    budget = budget - size
  end
end

local function bare_row(id, its_token, lane, entry, attempt, allowed, at, size)
  return id .. '\t' .. its_token .. '\t' .. lane .. '\t' .. entry .. '\t' .. attempt .. '\t' .. (allowed or '') .. '\t'
    .. at .. '\t' .. size
end

local function row_of(job)
  return bare_row(job.id, job.token, job.lane, job.entry, job.attempt, job.limits, job.at, job.size) .. '\t'
    .. (job.failures or '0') .. '\t' .. (job.tags or '') .. '\t' .. (job.trace or '') .. '\t' .. (job.flow or '') .. '\t'
    .. (job.stage or '')
end

local function answered()
  if payloads[1] then
    for i, payload in ipairs(redis.call('MGET', unpack(payloads))) do reply[places[i]] = payload end
  end
  return reply
end

-- ------------------------------------------------------------ numbered calls
local calls = redis.call('GET', call_key) or ''
for recorded, ids in string.gmatch(calls, '(%d+)([^\n]*)\n') do
  if recorded == sequence then
    local n = 0
    for id in string.gmatch(ids, '%S+') do
      n = n + 1
      local job = read_job(id)
      if job and job.state == 'active' and job.token == token .. '.' .. n then answer(id, job.size, row_of(job)) end
    end
    return answered()
  end
end
local newest = string.match(calls, '^(%d+)([^\n]*\n)')
if newest and tonumber(sequence) < tonumber(newest) then return { 'stale', 0 } end

-- The last two calls are kept, since a worker has at most two on their way.
local function record_call()
  redis.call('SET', call_key, sequence .. ' ' .. table.concat(granted, ' ') .. '\n'
    .. (string.match(calls, '^[^\n]*\n') or ''), 'PX', CALL_TTL_MS)
end

if clock(class).paused then
  redis.call('HSET', clock_ .. class, 'seen', now_text)
  record_call()
  return { 'paused', -1 }
end
tick(class)
local late = late_by(class)

-- ------------------------------------------------------------ what is due, how much room there is
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due_ .. class, '-inf', now, 'LIMIT', 0, DUE_MAX)) do
  promote(id, class)
end
read_limits(class)
local total, room = settings[pool] or (class == 'ollama' and 1), slots
if rates[''] then room = math.min(room, rates[''].left) end
if total then
  room = math.min(room, total - redis.call('ZCOUNT', leases_ .. pool, '(' .. late, '+inf'))
end

-- ------------------------------------------------------------ heads: lanes and expired leases alike
local has_model, has_processor = {}, {}
for i = rest, rest + models - 1 do has_model[ARGV[i]] = true end
for i = rest + math.max(models, 0), #ARGV do has_processor[ARGV[i]] = true end

local function mine(lane)
  local _, _, _, processor, model = lane_parts(lane)
  return has_processor[processor] and (models < 0 or has_model[model])
end

local function offer_lanes()
  for priority in pairs(TARGET_MS) do
    local key = lanes_ .. class .. ':' .. priority
    local heads = redis.call('ZRANGE', key, 0, LANES_MAX - 1, 'WITHSCORES')
    for i = 1, #heads, 2 do
      if mine(heads[i]) then offer(heads[i], heads[i + 1]) end
    end
  end
end

-- A job whose next death is its last runs while no other such job of the class does: else one that
-- ends its worker takes those that were leased beside it along, death by death.
local suspect = false -- id, nil for none, false for not looked up

local function running_suspect()
  local id = redis.call('HGET', clock_ .. class, 'suspect')
  local job = id and read_job(id)
  local until_ms = job and job.state == 'active'
    and redis.call('ZSCORE', leases_ .. job.pool, job.lane .. '|' .. job.entry)
  return until_ms and tonumber(until_ms) > late and id or nil
end

local function is_suspect(crashes)
  return crashes > 0 and crashes == crashes_max - 1
end

local function may_be_offered(id)
  local row, was = redis.call('HMGET', job_ .. id, 'crashes', 'lease'), { token = '-' }
  if row[2] then read_lease(row[2], was) end
  local died = string.sub(was.token, 1, 1) ~= '-'
  if not is_suspect(tonumber(row[1] or 0) + (died and 1 or 0)) then return true end
  if suspect == false then suspect = running_suspect() end
  if suspect then return suspect == id end
  suspect = id
  return true
end

local function offer_late(from)
  local offered = 0
  for page = 0, LATE_PAGES - 1 do
    local expired = redis.call('ZRANGEBYSCORE', leases_ .. from, '-inf', late, 'LIMIT', page * LATE_PAGE, LATE_PAGE)
    for _, member in ipairs(expired) do
      local lane, entry = string.match(member, '^(.*)|(.-)$')
      local _, app = lane_parts(lane)
      if running[app] then running[app] = running[app] - 1 end -- active, but nobody runs it
      local found = mine(lane) and redis.call('XRANGE', stream_ .. lane, entry, entry)[1]
      if found and may_be_offered(found[2][2]) then
        offer(lane, found[2][4], entry, from)
        offered = offered + 1
      end
    end
    if #expired < LATE_PAGE or offered >= room then return end
  end
end

local picked = {}
if room > 0 then
  offer_lanes()
  if class == 'ollama' then
    redis.call('SADD', pools_ .. class, pool)
    for _, from in ipairs(redis.call('SMEMBERS', pools_ .. class)) do offer_late(from) end
  else
    offer_late(pool)
  end
  picked = pick(class, room, resident, worker)
end

-- ------------------------------------------------------------ lease
local function reclaim(job, from)
  local stream = stream_ .. job.lane
  last_delivered(stream) -- makes a missing group anew
  local claimed = redis.call('XAUTOCLAIM', stream, 'workers', worker, 0, job.entry, 'COUNT', 1)
  if not claimed[2][1] or claimed[2][1][1] ~= job.entry then
    redis.call('XCLAIM', stream, 'workers', worker, 0, job.entry, 'FORCE', 'JUSTID')
  end
  if end_if_lost(job) then return false end
  if job.died then
    keep_attempt(job.id, job.attempt, 'lost', now_text)
    tally('lost', job.lane)
  end
  if from ~= pool then redis.call('ZREM', leases_ .. from, job.lane .. '|' .. job.entry) end
  return true
end

local deadline = whole(now + lease_ms)
local held_by = '\t' .. pool .. '\t' .. now_text .. '\t' .. worker -- what ends each lease of this call

-- Writes the lease; the job is in no other's hands. Returns its token.
local function grant(id, lane, entry, attempt, ...)
  local n = #granted + 1
  local its_token = token .. '.' .. n
  granted[n] = id
  push(leased, pool, deadline, lane .. '|' .. entry)
  redis.call('HSET', job_ .. id, 'state', 'active', 'lease', attempt .. '\t' .. its_token .. held_by, ...)
  tally('started', lane)
  event('active', id, lane, 'active', attempt)
  return its_token
end

-- Leases a head, whatever it is; one that is no job's place is dropped.
local function lease(id, lane, entry, from, job)
  if id then job = read_job(id, job and MORE_TO_RUN, job) end
  if job and job.entry == entry and job.state == 'active' and not from then
    -- The group was made anew and delivered what is leased already: the lease stands.
    redis.call('ZADD', leases_ .. job.pool, 'NX', now, lane .. '|' .. entry)
    return
  end
  if not job or job.entry ~= entry or job.state ~= (from and 'active' or 'waiting') then
    redis.call('XACK', stream_ .. lane, 'workers', entry)
    redis.call('XDEL', stream_ .. lane, entry)
    if from then redis.call('ZREM', leases_ .. from, lane .. '|' .. entry) end
    return
  end
  if not job.attempt and job.expires and tonumber(job.expires) <= now then
    redis.call('XACK', stream_ .. lane, 'workers', entry)
    return finish(read_job(id), 'expired', 'expired', 'not started in time')
  end
  local crashes = {}
  if from then
    if not reclaim(job, from) then return end
    if job.died then
      crashes = { 'crashes', job.crashes, 'prev', job.token }
    end
    if is_suspect(tonumber(job.crashes)) then redis.call('HSET', clock_ .. class, 'suspect', id) end
  else
    move(lane, 'waiting', 'active')
    if job.expires then redis.call('ZREM', expiring, id) end
  end
  spend(job.app)
  job.attempt = job.attempt and whole(job.attempt + 1) or '1'
  job.token = grant(id, lane, entry, job.attempt, unpack(crashes))
  answer(id, job.size, row_of(job))
end

-- Leases an entry that was just delivered: most are of jobs that are bare and were never leased.
local function lease_new(id, lane, entry)
  local state, its_entry, bare, was, allowed, at, size = unpack(
    redis.call('HMGET', job_ .. id, 'state', 'entry', 'bare', 'lease', 'limits', 'at', 'size'))
  if state ~= 'waiting' or its_entry ~= entry or not bare or was then
    return lease(id, lane, entry, nil, state and { id = id, lane = lane, state = state, entry = its_entry, bare = bare,
      lease = was, limits = allowed, at = at, size = size })
  end
  local _, app = lane_parts(lane)
  move(lane, 'waiting', 'active')
  spend(app)
  local its_token = grant(id, lane, entry, '1')
  answer(id, size, bare_row(id, its_token, lane, entry, '1', allowed, at, size))
end

for _, source in ipairs(picked) do
  if source.entry then
    local found = redis.call('XRANGE', stream_ .. source.lane, source.entry, source.entry)[1]
    lease(found[2][2], source.lane, source.entry, source.pool)
  else
    local entry = drawn(source, worker)
    if entry then lease_new(entry[2][2], source.lane, entry[1]) end
  end
end

-- ------------------------------------------------------------ write down, say when to look again
record_call()
write_turns(class, #picked)
write_rates(class)
close()

if #granted < #picked then
  reply[2] = 0
elseif #granted < slots then
  local due = redis.call('ZRANGE', due_ .. class, 0, 0, 'WITHSCORES')[2]
  local following = redis.call('ZRANGEBYSCORE', leases_ .. pool, '(' .. late, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  local again = math.min(tonumber(due or math.huge), next_start(),
    math.max(tonumber(following or math.huge), clock(class).grace))
  if again < math.huge then reply[2] = math.max(0, again - now) end
end
return answered()
